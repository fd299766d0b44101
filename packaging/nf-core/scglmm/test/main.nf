process SCGLMM_TEST {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${params.scglmm_container ?: 'sc-glmm:0.1.0'}"

    input:
    tuple val(meta), path(h5ad)
    val formula

    output:
    tuple val(meta), path("${prefix}.h5ad"), emit: h5ad
    tuple val(meta), path("${prefix}.csv") , emit: csv
    tuple val(meta), path("${prefix}.html"), emit: report
    path "versions.yml"                    , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def args2 = task.ext.args2 ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${h5ad}" == "${prefix}.h5ad") error "Input and output have the same name: set ext.prefix"
    """
    export NUMBA_CACHE_DIR=\${NUMBA_CACHE_DIR:-\$PWD/.numba_cache}
    export MPLCONFIGDIR=\$PWD/.matplotlib
    sc-glmm test '${h5ad}' '${formula}' ${args} --n-jobs ${task.cpus} --quiet -o '${prefix}.h5ad'
    python -c "import sys, sc_glmm; sc_glmm.get.results(sys.argv[1], columns='all').to_csv(sys.argv[2], index=False)" '${prefix}.h5ad' '${prefix}.csv'
    sc-glmm report '${prefix}.h5ad' ${args2} -o '${prefix}.html'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        sc-glmm: \$(sc-glmm --version | sed 's/sc-glmm //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch '${prefix}.h5ad' '${prefix}.csv' '${prefix}.html'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        sc-glmm: \$(sc-glmm --version | sed 's/sc-glmm //')
    END_VERSIONS
    """
}
