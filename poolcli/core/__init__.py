"""Arrays only: geometry, methods, kernels, engines. Knows no file and no terminal."""
