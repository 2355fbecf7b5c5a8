//! `cpuinfo.img`: the CPU that the processes ran on, as `criu cpuinfo dump` has it.

use super::container::{ImageKind, ImageWriter};
use super::{EncodeError, proto};
use crate::snapshot::Cpu;
use proto::cpuinfo_x86_entry::Vendor;

/// The version of capability words that has [`WORDS`] of them.
pub const CAPABILITY_VERSION: u32 = 2;
/// Words of capabilities (`NCAPINTS_V2`, `compel/.../asm/cpu.h`).
pub const WORDS: usize = 19;

/// Words that CRIU has in another place than the kernel: the kernel's, CRIU's.
/// `CPUID_7_0_ECX`.
const MOVED: (usize, usize) = (16, 11);
/// A word of CRIU's where kernels have others: `CPUID_F_1_EDX`.
const OTHER: usize = 12;

/// The word and the bit of `X86_FEATURE_3DNOWPREFETCH`.
const PREFETCH: (usize, u32) = (6, 8);

/// `cpuinfo.img`
pub fn image(cpu: &Cpu) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Cpuinfo);
    image.record(&proto::CpuinfoEntry { x86_entry: vec![entry(cpu)] })?;
    Ok(image.finish())
}

fn entry(cpu: &Cpu) -> proto::CpuinfoX86Entry {
    let mut words = cpu.capabilities.clone();
    words.resize(WORDS, 0);
    let (theirs, ours) = MOVED;
    words[ours] = words[theirs];
    words[theirs] = 0;
    words[OTHER] = 0;
    // The kernel sets it for AMD's CPUs that do not tell (`early_init_amd()`).
    words[PREFETCH.0] &= !(1 << PREFETCH.1);
    let vendor = match cpu.vendor.as_str() {
        "GenuineIntel" => Vendor::Intel,
        "AuthenticAMD" | "HygonGenuine" => Vendor::Amd,
        _ => Vendor::Unknown,
    };
    // What the kernel has of a CPU without XSAVE is the size of another area.
    let has_xsave = words[4] >> 26 & 1 == 1;
    proto::CpuinfoX86Entry {
        vendor_id: vendor as i32,
        cpu_family: cpu.family,
        model: cpu.model,
        stepping: cpu.stepping,
        capability_ver: CAPABILITY_VERSION,
        capability: words,
        model_id: Some(cpu.model_name.clone()),
        // CRIU takes components for missing that are there (`compel_fpuid()` has 0x215
        // for 0x21f), and then refuses this.
        xfeatures_mask: None,
        xsave_size: Some(if has_xsave { cpu.xsave_size } else { 0 }),
        // The kernel does not keep it.
        xsave_size_max: None,
    }
}

/// A word and a bit of capabilities as CRIU has them, and what `/proc/cpuinfo` calls
/// it.
type Instruction = (usize, u32, &'static str);

/// What programs look for before they use it: what not every x86-64 CPU has.
static INSTRUCTIONS: [Instruction; 64] = [
    (1, 22, "mmxext"),
    (1, 27, "rdtscp"),
    (1, 30, "3dnowext"),
    (1, 31, "3dnow"),
    (4, 0, "pni"),
    (4, 1, "pclmulqdq"),
    (4, 9, "ssse3"),
    (4, 12, "fma"),
    (4, 13, "cx16"),
    (4, 19, "sse4_1"),
    (4, 20, "sse4_2"),
    (4, 22, "movbe"),
    (4, 23, "popcnt"),
    (4, 25, "aes"),
    (4, 26, "xsave"),
    (4, 28, "avx"),
    (4, 29, "f16c"),
    (4, 30, "rdrand"),
    (6, 5, "abm"),
    (6, 6, "sse4a"),
    (6, 7, "misalignsse"),
    (6, 11, "xop"),
    (6, 16, "fma4"),
    (6, 21, "tbm"),
    (9, 0, "fsgsbase"),
    (9, 3, "bmi1"),
    (9, 4, "hle"),
    (9, 5, "avx2"),
    (9, 8, "bmi2"),
    (9, 9, "erms"),
    (9, 11, "rtm"),
    (9, 16, "avx512f"),
    (9, 17, "avx512dq"),
    (9, 18, "rdseed"),
    (9, 19, "adx"),
    (9, 21, "avx512ifma"),
    (9, 23, "clflushopt"),
    (9, 24, "clwb"),
    (9, 26, "avx512pf"),
    (9, 27, "avx512er"),
    (9, 28, "avx512cd"),
    (9, 29, "sha_ni"),
    (9, 30, "avx512bw"),
    (9, 31, "avx512vl"),
    (10, 0, "xsaveopt"),
    (10, 1, "xsavec"),
    (10, 2, "xgetbv1"),
    (11, 1, "avx512vbmi"),
    (11, 3, "pku"),
    (11, 6, "avx512_vbmi2"),
    (11, 8, "gfni"),
    (11, 9, "vaes"),
    (11, 10, "vpclmulqdq"),
    (11, 11, "avx512_vnni"),
    (11, 12, "avx512_bitalg"),
    (11, 14, "avx512_vpopcntdq"),
    (11, 22, "rdpid"),
    (13, 0, "clzero"),
    (18, 2, "avx512_4vnniw"),
    (18, 3, "avx512_4fmaps"),
    (18, 8, "avx512_vp2intersect"),
    (18, 22, "amx_bf16"),
    (18, 23, "avx512_fp16"),
    (18, 24, "amx_tile"),
];

/// What a CPU can do that programs look for, as `/proc/cpuinfo` calls it.
pub fn instructions(cpu: &proto::CpuinfoX86Entry) -> impl Iterator<Item = &'static str> {
    let has = |word: usize, bit: u32| cpu.capability.get(word).is_some_and(|w| w >> bit & 1 == 1);
    INSTRUCTIONS.iter().filter(move |(word, bit, _)| has(*word, *bit)).map(|(.., name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_where_criu_has_them() {
        let mut capabilities = vec![0; WORDS];
        (capabilities[9], capabilities[12], capabilities[16]) = (1 << 5, 7, 1 << 9);
        let cpu = Cpu { vendor: "AuthenticAMD".into(), capabilities, ..Cpu::default() };
        let entry = entry(&cpu);
        assert_eq!((entry.vendor_id, entry.capability.len()), (2, WORDS));
        assert_eq!((entry.capability[11], entry.capability[16]), (1 << 9, 0));
        assert_eq!(entry.capability[12], 0);
        assert_eq!(instructions(&entry).collect::<Vec<_>>(), ["avx2", "vaes"]);
    }
}
