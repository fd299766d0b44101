// nextflow run main.nf --data in.h5ad --formula "counts ~ disease + (1|sample)" --chunks 8 --out results.csv
//
// Use --layout genes for a matrix in CSC format: its chunks are ranges of genes, and there is no stage "compress".
// The parts are in one folder that all tasks can access (--parts). Each stage waits for all chunks of the previous one.
// With -resume, and after a failure, finished chunks are skipped.

params.data = null
params.formula = null
params.layout = 'cells'
params.chunks = 8
params.parts = "${launchDir}/parts"
params.out = 'results.csv'
params.options = ''

process PREPARE {
    input:
    val test

    output:
    val true

    script:
    "${test} --stage prepare"
}

process COMPRESS {
    input:
    val test
    val chunk
    val ready

    output:
    val true

    script:
    "${test} --stage compress --chunk ${chunk} --n-jobs ${task.cpus}"
}

process FIT {
    input:
    val test
    val chunk
    val ready

    output:
    val true

    script:
    "${test} --stage fit --chunk ${chunk} --n-jobs ${task.cpus}"
}

process PROFILE {
    input:
    val test
    val chunk
    val ready

    output:
    val true

    script:
    "${test} --stage profile --chunk ${chunk} --n-jobs ${task.cpus}"
}

process COMBINE {
    publishDir launchDir, mode: 'copy'

    input:
    val parts
    val out
    val ready

    output:
    path "${out}"

    script:
    "sc-glmm combine '${parts}' -o '${out}' -q"
}

workflow {
    test = "sc-glmm test '${file(params.data)}' '${params.formula}' ${params.options} --n-chunks ${params.chunks} -o '${params.parts}' -q"
    chunks = channel.of(0..(params.chunks as Integer) - 1)

    PREPARE(test)
    ready = PREPARE.out
    if (params.layout == 'cells') {
        COMPRESS(test, chunks, ready)
        ready = COMPRESS.out.collect()
    }
    FIT(test, chunks, ready)
    PROFILE(test, chunks, FIT.out.collect())
    COMBINE(params.parts, params.out, PROFILE.out.collect())
}
