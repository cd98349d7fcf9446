"""python -m scripts.local.bench.serve: python -m backend with the application of the benchmark.

The application is a module of its own, so that the server process does not import it, as in production.
"""

from backend.app.server import main

if __name__ == "__main__":
    main("scripts.local.bench.service:create_bench_app")
