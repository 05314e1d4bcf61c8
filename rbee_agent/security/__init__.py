"""Keys and roles, bind policy, input rules."""
