"""The study tool: commands, the search on Ray Tune and Optuna, the record."""

import study.engine.ray_environment  # noqa: F401 - before any module of this package can import Ray
from study.options.paths import settle_home

settle_home()
