"""The aiohttp side that all our servers share."""
