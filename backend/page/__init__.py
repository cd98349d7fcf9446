"""The web page of the service: static files without a build step, and the routes that serve them."""
