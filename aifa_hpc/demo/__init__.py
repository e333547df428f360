"""The main job, small: real public data, a data-parallel training, and a result that can be checked."""
