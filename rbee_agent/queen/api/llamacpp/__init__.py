"""The routes that llama.cpp's server has beside OpenAI's, over the queen's own ways."""
