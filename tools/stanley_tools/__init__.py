"""Python beside stanley: `data` makes data files, `files` reads runs, `report` and `scaling` show them, `peers` compares
speeds. Importing it imports nothing else."""
