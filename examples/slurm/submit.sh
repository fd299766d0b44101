#!/bin/bash
# Job arrays on SLURM: one array per stage, each begun when the one before has ended well.
#
#   bash submit.sh IN.h5ad "counts ~ disease + (1|sample)" 50 parts results.h5ad
#
# Other options of sc-glmm test go into SC_GLMM_OPTIONS: export SC_GLMM_OPTIONS="--groupby cell_type".
# A stage can be submitted again after a failure: chunks that are finished are skipped.
set -euo pipefail
in=$1 formula=$2 n=$3 parts=$4 out=$5
options=${SC_GLMM_OPTIONS:-}
test="sc-glmm test '$in' '$formula' $options --n-chunks $n -o '$parts' -q"

submit() { sbatch --parsable --kill-on-invalid-dep=yes --cpus-per-task=4 --mem=16G --time=2:00:00 "$@"; }

# The first job reads the matrix once (library sizes) and says which stages the form of the matrix needs.
sbatch --wait --cpus-per-task=4 --mem=16G --time=2:00:00 --job-name=prepare --output=prepare.log \
    --wrap "$test --stage prepare"
stages=$(sed -n 's/.*stages: //p' prepare.log | tr -d ,)

after=""
for stage in $stages; do
    job=$(submit $after --array=0-$((n - 1)) --job-name="$stage" --wrap "$test --stage $stage --chunk \$SLURM_ARRAY_TASK_ID")
    after="--dependency=afterok:${job%%;*}"
done
submit $after --job-name=combine --wrap "sc-glmm combine '$parts' -o '$out' -q"
