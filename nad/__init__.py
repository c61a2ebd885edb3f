"""Neural Attention Distillation: backdoor attacks on image classifiers, and their erasure.

This package is the science. It imports torch, torchvision and numpy, and knows nothing of studies, searches or reports.
"""
