"""A static web page that runs an exported model in the browser; `page/` is its source."""
