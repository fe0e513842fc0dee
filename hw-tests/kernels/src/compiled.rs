//! The ten kernels that the public compiler made from our own sources. Parameters, formulas and tolerances are in the README
//! beside them (`hw-tests/tpc/tests/data/kernels`).

macro_rules! object {
    ($constant:ident, $name:literal) => {
        #[doc = concat!("The object of `", $name, ".c`.")]
        pub const $constant: &[u8] = include_bytes!(concat!("../../tpc/tests/data/kernels/", $name, ".o"));
    };
}

object!(ADD_F32, "add_f32");
object!(ADD_I32, "add_i32");
object!(AXPB_F32, "axpb_f32");
object!(CAST_F32_TO_BF16, "cast_f32_to_bf16");
object!(FOLD_LOCAL_F32, "fold_local_f32");
object!(LEAKY_RELU_F32, "leaky_relu_f32");
object!(MAX_ROWS_F32, "max_rows_f32");
object!(MUL_BF16, "mul_bf16");
object!(POLYNOMIAL_F32, "polynomial_f32");
object!(RECIP_NEWTON_F32, "recip_newton_f32");
