"""The provider simulator: the vendors' HTTP surfaces, stateful, with real audio and faults on demand.

One file a vendor. `state.py` is what they share: voices, the log of calls, and the faults to inject.
"""
