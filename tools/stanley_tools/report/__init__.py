"""Makes a run's page, RUN/report.html, and the picture of its chains."""
