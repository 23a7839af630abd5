"""One value per lane or shard: `vmap` and `shard_map`."""
