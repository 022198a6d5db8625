// The one symbol an instruction-set object exports.
extern const KernelTable table;
const KernelTable table = {
    ALSEG_ISA_NAME, uncertainty_scratch, uncertainty_rows, foreground_rows, impurity_scratch,
    impurity_rows, edge_rows, dilate_rows, pack_values, resize_scratch, resize_rows,
    class_probs_scratch, class_probs,
    region_crf_scratch, region_crf_step,
    slic_planes, slic_seed, slic_scratch, slic_gather, slic_assign,
    crf_tile_simplices, crf_pitch, crf_collect, crf_blur_lattice, crf_blur_line, crf_penalise, crf_sweep_scratch,
    crf_sweep_tile,
    histogram_scratch, histogram_rows, belharbi_scratch, belharbi_across, belharbi_along, belharbi_count,
};
