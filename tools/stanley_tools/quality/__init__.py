"""What it costs to train to a quality (jobs/time_to_quality.sh)."""
