"""`python -m backend`: the service."""

from backend.app.serving import main

if __name__ == "__main__":
    main()
