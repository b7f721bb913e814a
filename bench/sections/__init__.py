"""One file for each section of docs/performance.md, with `run(bench)`, which returns its rows."""
