#!/bin/bash
# Submit job arrays to SLURM: one array per stage, which starts when the previous stage has succeeded.
#
#   bash submit.sh IN.h5ad "counts ~ disease + (1|sample)" 50 parts results.h5ad
#
# Put other options of sc-glmm test into SC_GLMM_OPTIONS, and the resources of a job into SC_GLMM_SBATCH:
#
#   export SC_GLMM_OPTIONS="--groupby cell_type" SC_GLMM_SBATCH="--partition=long --cpus-per-task=8 --mem=32G --time=4:00:00"
#
# After a failure, submit the same command again: finished chunks are skipped.
set -euo pipefail
in=$1 formula=$2 n=$3 parts=$4 out=$5
read -r -a resources <<< "${SC_GLMM_SBATCH:---cpus-per-task=4 --mem=16G --time=2:00:00}"
test="sc-glmm test $(printf '%q ' "$in" "$formula") ${SC_GLMM_OPTIONS:-} --n-chunks $n -o $(printf '%q' "$parts")"

submit() { sbatch --parsable --kill-on-invalid-dep=yes "${resources[@]}" "$@"; }

# The first job reads the matrix once (library sizes) and prints the stages that the matrix format and the test need.
sbatch --wait "${resources[@]}" --job-name=prepare --output=prepare.log --wrap "$test --stage prepare" || {
    cat prepare.log
    exit 1
}
stages=$(sed -n 's/.*stages: //p' prepare.log | tr -d ,)

after=()
for stage in $stages; do
    job=$(submit ${after[@]+"${after[@]}"} --array="0-$((n - 1))" --job-name="$stage" --output="$stage-%a.log" \
        --wrap "$test -q --stage $stage --chunk \$SLURM_ARRAY_TASK_ID")
    after=(--dependency="afterok:${job%%;*}")
done
submit "${after[@]}" --job-name=combine --output=combine.log \
    --wrap "sc-glmm combine $(printf '%q' "$parts") -o $(printf '%q' "$out") -q"
