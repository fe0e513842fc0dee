//! The opcodes of the four slots (`tpc.md` 5).
//!
//! Owns numbers and names only. NOP is not in the lists: a slot without work is an absent operation.

macro_rules! opcodes {
    ($(#[$doc:meta])* $name:ident, nop $nop:literal { $($variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// The opcode of a slot that does nothing.
            pub const NOP: u8 = $nop;
            /// Every operation of the slot.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The operation with this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number of the operation.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The name in the text form.
            #[must_use]
            pub const fn mnemonic(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

opcodes! {
    /// Operations of the scalar unit. LOOP (0x22) is a whole bundle and not in this list.
    SpuOp, nop 0x3F {
        Mac = 0x00, "mac"; Mul = 0x01, "mul"; Add = 0x02, "add"; Sub = 0x03, "sub";
        ConvertInt16 = 0x04, "convert_int16"; Max = 0x05, "max"; Min = 0x06, "min"; Abs = 0x07, "abs";
        Mov = 0x08, "mov"; CmpEq = 0x09, "cmp_eq"; CmpNeq = 0x0A, "cmp_neq"; CmpLess = 0x0B, "cmp_less";
        CmpLeq = 0x0C, "cmp_leq"; CmpGrt = 0x0D, "cmp_grt"; CmpGeq = 0x0E, "cmp_geq"; Or = 0x0F, "or";
        And = 0x10, "and"; Xor = 0x11, "xor"; Not = 0x12, "not"; Shr = 0x13, "shr";
        Shl = 0x14, "shl"; Ash = 0x15, "ash"; Convert = 0x16, "convert"; ConvertInt32 = 0x17, "convert_int32";
        ConvertUint32 = 0x18, "convert_uint32"; Popcnt = 0x19, "popcnt"; FindFirst = 0x1A, "find_first";
        Nearbyint = 0x1B, "nearbyint"; ConvertUint16 = 0x1C, "convert_uint16"; ExtractExp = 0x1D, "extract_exp";
        Fclass = 0x1E, "fclass"; Brev = 0x1F, "brev"; Halt = 0x20, "halt"; Jmpr = 0x24, "jmpr"; Jmpa = 0x25, "jmpa";
        MovIrfDim = 0x26, "mov_irf_dim"; SetIndx = 0x27, "set_indx"; Udiv4Step = 0x28, "udiv_4step";
        CalcFpSpecial = 0x34, "calc_fp_special";
    }
}

opcodes! {
    /// Operations of the vector unit.
    VpuOp, nop 0x3F {
        Mac = 0x00, "mac"; Mul = 0x01, "mul"; Add = 0x02, "add"; Sub = 0x03, "sub";
        ConvertInt16 = 0x04, "convert_int16"; Max = 0x05, "max"; Min = 0x06, "min"; Abs = 0x07, "abs";
        Mov = 0x08, "mov"; CmpEq = 0x09, "cmp_eq"; CmpNeq = 0x0A, "cmp_neq"; CmpLess = 0x0B, "cmp_less";
        CmpLeq = 0x0C, "cmp_leq"; CmpGrt = 0x0D, "cmp_grt"; CmpGeq = 0x0E, "cmp_geq"; Or = 0x0F, "or";
        And = 0x10, "and"; Xor = 0x11, "xor"; Not = 0x12, "not"; Shr = 0x13, "shr";
        Shl = 0x14, "shl"; Ash = 0x15, "ash"; Convert = 0x16, "convert"; ConvertInt32 = 0x17, "convert_int32";
        ConvertUint32 = 0x18, "convert_uint32"; Popcnt = 0x19, "popcnt"; FindFirst = 0x1A, "find_first";
        Nearbyint = 0x1B, "nearbyint"; ConvertUint16 = 0x1C, "convert_uint16"; ExtractExp = 0x1D, "extract_exp";
        Fclass = 0x1E, "fclass"; Brev = 0x1F, "brev"; Halt = 0x20, "halt"; SelEq = 0x22, "sel_eq";
        SelNeq = 0x23, "sel_neq"; SelLess = 0x24, "sel_less"; SelLeq = 0x25, "sel_leq"; SelGrt = 0x26, "sel_grt";
        SelGeq = 0x27, "sel_geq"; Sel2Less = 0x28, "sel2_less"; Sel2Leq = 0x29, "sel2_leq"; Sel2Grt = 0x2A, "sel2_grt";
        Sel2Geq = 0x2B, "sel2_geq"; Shuffle = 0x2C, "shuffle"; Pack = 0x2D, "pack"; Unpack = 0x2E, "unpack";
        GetLutEntry = 0x2F, "get_lut_entry_and_interval_start"; FormFpNum = 0x30, "form_fp_num";
        MovDualGroup = 0x31, "mov_dg"; MovGroup = 0x32, "mov_g"; CalcFpSpecial = 0x34, "calc_fp_special";
    }
}

opcodes! {
    /// Operations of the LOAD slot.
    LoadOp, nop 0x1F {
        GenAddr = 0x00, "gen_addr"; PrmtIndx = 0x03, "prmt_indx"; SetIndx = 0x04, "set_indx"; Mov = 0x05, "mov";
        Lookup = 0x06, "lookup"; Lookup2C = 0x07, "lookup_2c"; Lookup1C = 0x09, "lookup_1c"; LdL = 0x0B, "ld_l";
        LdG = 0x0C, "ld_g"; Prefetch = 0x0D, "prefetch"; LdLV = 0x0E, "ld_l_v"; LdLVLow = 0x0F, "ld_l_v_low";
        LdLVHigh = 0x10, "ld_l_v_high"; LdTnsr = 0x11, "ld_tnsr"; LdTnsrLow = 0x12, "ld_tnsr_low";
        LdTnsrHigh = 0x13, "ld_tnsr_high";
    }
}

opcodes! {
    /// Operations of the STORE slot.
    StoreOp, nop 0x1F {
        GenAddr = 0x00, "gen_addr"; PrmtIndx = 0x03, "prmt_indx"; SetIndx = 0x04, "set_indx"; StL = 0x05, "st_l";
        StG = 0x06, "st_g"; StLV = 0x07, "st_l_v"; StLVLow = 0x08, "st_l_v_low"; StLVHigh = 0x09, "st_l_v_high";
        Aso = 0x0A, "aso"; StTnsr = 0x0B, "st_tnsr"; StTnsrLow = 0x0C, "st_tnsr_low";
        StTnsrHigh = 0x0D, "st_tnsr_high"; CacheFlush = 0x14, "cache_flush"; CacheInvalidate = 0x15, "cache_invalidate";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_operations_are_inverse_of_each_other() {
        for code in 0..=0x3F {
            assert!(SpuOp::from_code(code).is_none_or(|op| op.code() == code));
            assert!(VpuOp::from_code(code).is_none_or(|op| op.code() == code));
            assert!(LoadOp::from_code(code).is_none_or(|op| op.code() == code));
            assert!(StoreOp::from_code(code).is_none_or(|op| op.code() == code));
        }
        assert_eq!(SpuOp::from_code(SpuOp::NOP), None);
        assert_eq!(LoadOp::from_code(LoadOp::NOP), None);
    }
}
