// The one symbol an instruction-set object exports.
extern const KernelTable table;
const KernelTable table = {
    ALSEG_ISA_NAME, uncertainty_scratch, uncertainty_rows, foreground_rows, impurity_scratch,
    impurity_rows, edge_rows, dilate_rows, pack_values, resize_scratch, resize_rows,
    class_probs_scratch, class_probs,
    region_crf_scratch, region_crf_step,
    slic_planes, slic_seed, slic_scratch, slic_gather, slic_assign,
    crf_tile_simplices, crf_pitch, crf_collect, crf_blur_lattice, crf_blur_line, crf_penalise, crf_sweep_scratch,
    crf_sweep_tile, crf_filter_tile,
    kPanel, kGroup, knn_padded, knn_embed_row, knn_mass_row, knn_panel_floats, knn_panel_scratch, knn_pack_panel,
    knn_pack_points, knn_pack_group, knn_hits, knn_row_hits, knn_point_distances, knn_nearest_point,
    knn_distance, knn_divergence,
    knn_divergence_error, js_row_sum, js_shares, js_exact,
    histogram_scratch, histogram_rows, belharbi_scratch, belharbi_across, belharbi_along, belharbi_count,
    moments_scratch, count_moments, weigh_moments, mixture_step, reliability_terms, scale_valid,
};
