// The one symbol an instruction-set object exports.
extern const KernelTable table;
const KernelTable table = {
    ALSEG_ISA_NAME, uncertainty_scratch, uncertainty_rows, pack_values, resize_scratch, resize_rows,
};
