#!/usr/bin/env bash
# Redraws every figure in docs/, and the page of docs/reproduction, from the records that
# lie beside them. Each line is a command that works on its own too.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
runs=docs/runs

"$python" scripts/plot.py "$runs"/cifar10/vgg_{none,bn,renorm} --out=docs/figures \
  --figures=learning_curves
"$python" scripts/plot.py "$runs"/vgg_{none,bn,renorm} --out=docs/figures \
  --figures=covariate_shift
"$python" scripts/plot.py "$runs"/diagnostics/vgg_{none,bn} \
  --out=docs/figures/diagnostics_vgg \
  --figures=landscape,covariate_shift,activation_moments,activation_ridges,curvature
"$python" scripts/plot.py "$runs"/diagnostics/dln_{none,bn} \
  --out=docs/figures/diagnostics_dln --layers=linear9,linear17 \
  --figures=landscape,covariate_shift
"$python" scripts/plot.py "$runs"/renorm/{plain,both_options} --out=docs/figures \
  --figures=renorm
"$python" scripts/reproduce.py all --scale=cpu --notrain --report=docs/reproduction
