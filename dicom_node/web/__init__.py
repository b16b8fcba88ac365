"""The HTTP side: STOW-RS through the same door as C-STORE, and /healthz."""
