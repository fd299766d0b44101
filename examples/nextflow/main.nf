// nextflow run main.nf --data in.h5ad --formula "counts ~ disease + (1|sample)" --chunks 8 --out results.csv
//
// --layout genes for a matrix in CSC form: its chunks are cut from the genes, and there is no stage "compress".
// The parts lie in one folder that all tasks see (params.parts); each stage waits for all chunks of the one before.

params.layout = 'cells'
params.chunks = 8
params.parts = "${launchDir}/parts"
params.out = 'results.csv'
params.options = ''

def command() {
    "sc-glmm test '${file(params.data)}' '${params.formula}' ${params.options} --n-chunks ${params.chunks} -o '${params.parts}' -q"
}

process prepare {
    output: val true
    script: "${command()} --stage prepare"
}

process compress {
    input: tuple val(chunk), val(ready)
    output: val true
    script: "${command()} --stage compress --chunk ${chunk} --n-jobs ${task.cpus}"
}

process fit {
    input: tuple val(chunk), val(ready)
    output: val true
    script: "${command()} --stage fit --chunk ${chunk} --n-jobs ${task.cpus}"
}

process profile {
    input: tuple val(chunk), val(ready)
    output: val true
    script: "${command()} --stage profile --chunk ${chunk} --n-jobs ${task.cpus}"
}

process combine {
    publishDir launchDir, mode: 'copy'
    input: val ready
    output: path params.out
    script: "sc-glmm combine '${params.parts}' -o '${params.out}' -q"
}

// every chunk, when all of what comes before is done
def each(ready) { channel.of(0..<params.chunks).combine(ready.collect().map { [it] }).map { chunk, done -> [chunk, true] } }

workflow {
    ready = prepare()
    if (params.layout == 'cells') { ready = compress(each(ready)) }
    profile(each(fit(each(ready))))
    combine(profile.out.collect())
}
