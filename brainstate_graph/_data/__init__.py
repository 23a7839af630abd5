"""GraphDefs and layouts as data that leaves the process: JSON, fingerprints, differences."""
