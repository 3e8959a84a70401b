"""The Helm chart, and the code that makes its generated parts: `python -m charts.generate`."""
