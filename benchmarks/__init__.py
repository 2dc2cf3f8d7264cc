"""One script a question, dated results under results/. A package only so that `python -m benchmarks.gpu` finds it."""
