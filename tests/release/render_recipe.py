"""Render the conda recipe, as rattler-build does first: ``python render_recipe.py RECIPE``."""

import json
import sys

from rattler_build import Stage0Recipe, VariantConfig

(rendered,) = Stage0Recipe.from_file(sys.argv[1]).render(VariantConfig())
recipe = rendered.recipe
print(f"{recipe.package.name} {recipe.package.version}")
print(json.dumps(recipe.to_dict()["requirements"], indent=1))
