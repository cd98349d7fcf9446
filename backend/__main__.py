"""`python -m backend`: the service."""

from backend.app.server import main

if __name__ == "__main__":
    main()
