"""The HTTP API, the MCP server and the web pages.  Nothing is here yet."""
