//! The XSAVE area in which the kernel keeps a thread's extended registers.
//!
//! ```text
//! byte 0        512          576
//!      | legacy  | header     | components 2, 3, …           |
//!                 XSTATE_BV    at the processor's offsets (standard form)
//!                 XCOMP_BV     or one behind the other (compacted form)
//! ```
//!
//! Intel SDM volume 1, section 13.4. XCOMP_BV's bit 63 tells the form: Linux
//! keeps areas compacted wherever the processor has XSAVES or XSAVEC. A
//! component whose bit in XSTATE_BV is clear is in its initial configuration,
//! and its place in the area holds nothing of meaning.

use thiserror::Error;

use crate::snapshot::{CetState, ExtendedState, LegacyState, XsaveState, component};

/// Components that an XSAVE area can have: bit 63 of the masks is no component.
const COMPONENTS: usize = 63;

const LEGACY_SIZE: usize = 512;
const HEADER_END: usize = 576;
const XCOMP_COMPACTED: u64 = 1 << 63;

/// Components that [`XsaveState`] and [`LegacyState`] can hold.
const KNOWN: u64 = bit(component::X87)
    | bit(component::SSE)
    | bit(component::AVX)
    | bit(component::BNDREGS)
    | bit(component::BNDCSR)
    | bit(component::OPMASK)
    | bit(component::ZMM_HI256)
    | bit(component::HI16_ZMM)
    | bit(component::PKRU)
    | bit(component::CET_USER);

const fn bit(component: u32) -> u64 {
    1 << component
}

/// Why an XSAVE area could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum XsaveError {
    /// The area is shorter than what it must hold.
    #[error("XSAVE area of {len} bytes ends before {what} at bytes {start} to {end}")]
    Short {
        /// What should be there.
        what: &'static str,
        /// Its first byte.
        start: usize,
        /// The first byte behind it.
        end: usize,
        /// How long the area is.
        len: usize,
    },
    /// The header contradicts itself.
    #[error("XSAVE header is not valid: XSTATE_BV {xstate_bv:#x}, XCOMP_BV {xcomp_bv:#x}")]
    Header {
        /// XSTATE_BV
        xstate_bv: u64,
        /// XCOMP_BV
        xcomp_bv: u64,
    },
    /// A component is in use that no image can hold, such as AMX tiles.
    #[error("XSAVE component {0} is in use, which cannot be saved")]
    Unsupported(u32),
    /// The processor's description of a component is missing or too small.
    #[error("XSAVE component {component} needs {needed} bytes, the guest's layout gives it {size}")]
    Layout {
        /// The component's number.
        component: u32,
        /// Bytes of its architectural content.
        needed: usize,
        /// Bytes it has in the layout, 0 when it is not in it.
        size: u32,
    },
}

/// One component of the guest's XSAVE area, as CPUID leaf 0xd describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ComponentLayout {
    /// Offset from the area's start in standard form.
    pub offset: u32,
    /// Size in bytes; 0 for a component that the processor does not have.
    pub size: u32,
    /// Whether it starts at a multiple of 64 in compacted form.
    pub aligned: bool,
}

/// Where the guest's processor puts components.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XsaveLayout {
    components: [ComponentLayout; COMPONENTS],
    enabled: u64,
}

impl XsaveLayout {
    /// The layout of a processor on which the components of `enabled` (a mask
    /// like XCR0, with IA32_XSS for supervisor components) are in use.
    pub fn new(enabled: u64) -> Self {
        Self { components: [ComponentLayout::default(); COMPONENTS], enabled }
    }

    /// Describes one component; numbers above 62 do not exist and are ignored.
    pub fn set(&mut self, component: u32, layout: ComponentLayout) {
        if let Some(slot) = self.components.get_mut(component as usize) {
            *slot = layout;
        }
    }

    fn is_enabled(&self, component: u32) -> bool {
        self.enabled & bit(component) != 0
    }

    fn get(&self, component: u32) -> ComponentLayout {
        self.components.get(component as usize).copied().unwrap_or_default()
    }

    /// Offset of a component in an area of compacted form: behind those of
    /// lower number that are in `xcomp_bv` (SDM volume 1, section 13.4.3).
    fn compacted_offset(&self, component: u32, xcomp_bv: u64) -> usize {
        let mut offset = HEADER_END;
        for number in (2..=component).filter(|number| xcomp_bv & bit(*number) != 0) {
            let layout = self.get(number);
            if layout.aligned {
                offset = offset.next_multiple_of(64);
            }
            if number < component {
                offset += layout.size as usize;
            }
        }
        offset
    }
}

/// Reads an area that XSAVE or one of its kin wrote.
///
/// `area` is the kernel's `fpstate->regs` (5.16 and later) or
/// `fpu.state` (before).
///
/// # Errors
/// When the area is too short, its header is not valid or it holds a component
/// in use that images have no place for.
pub fn parse(area: &[u8], layout: &XsaveLayout) -> Result<ExtendedState, XsaveError> {
    let header = Header::read(area)?;
    if let Some(unknown) = lowest_bit(header.xstate_bv & !KNOWN) {
        return Err(XsaveError::Unsupported(unknown));
    }
    let reader = AreaReader { area, layout, header };
    Ok(ExtendedState { legacy: reader.legacy()?, xsave: Some(reader.components()?) })
}

/// Reads an area that FXSAVE wrote, on a processor without XSAVE.
///
/// # Errors
/// When the area is shorter than 512 bytes.
pub fn parse_fxsave(area: &[u8]) -> Result<ExtendedState, XsaveError> {
    let region = slice(area, "the legacy region", 0, LEGACY_SIZE)?;
    let in_use = bit(component::X87) | bit(component::SSE);
    Ok(ExtendedState { legacy: legacy_region(region, in_use, true), xsave: None })
}

fn lowest_bit(mask: u64) -> Option<u32> {
    (mask != 0).then(|| mask.trailing_zeros())
}

#[derive(Clone, Copy)]
struct Header {
    xstate_bv: u64,
    xcomp_bv: u64,
}

impl Header {
    fn read(area: &[u8]) -> Result<Self, XsaveError> {
        let [xstate_bv, xcomp_bv] = words(slice(area, "the header", LEGACY_SIZE, HEADER_END)?);
        let header = Self { xstate_bv, xcomp_bv };
        let valid = if header.is_compacted() { xstate_bv & !xcomp_bv == 0 } else { xcomp_bv == 0 };
        if !valid || xstate_bv & XCOMP_COMPACTED != 0 {
            return Err(XsaveError::Header { xstate_bv, xcomp_bv });
        }
        Ok(header)
    }

    fn is_compacted(self) -> bool {
        self.xcomp_bv & XCOMP_COMPACTED != 0
    }
}

struct AreaReader<'a> {
    area: &'a [u8],
    layout: &'a XsaveLayout,
    header: Header,
}

impl AreaReader<'_> {
    fn legacy(&self) -> Result<LegacyState, XsaveError> {
        let region = slice(self.area, "the legacy region", 0, LEGACY_SIZE)?;
        // In standard form XRSTOR takes MXCSR from the area always, in
        // compacted form only together with SSE (SDM volume 1, section 13.8).
        let mxcsr = !self.header.is_compacted() || self.in_use(component::SSE);
        Ok(legacy_region(region, self.header.xstate_bv, mxcsr))
    }

    fn components(&self) -> Result<XsaveState, XsaveError> {
        Ok(XsaveState {
            xstate_bv: self.header.xstate_bv,
            avx: self.component(component::AVX, 256, vectors)?,
            bndregs: self.component(component::BNDREGS, 64, vectors)?,
            bndcsr: self.component(component::BNDCSR, 16, words)?,
            opmask: self.component(component::OPMASK, 64, words)?,
            zmm_hi256: self.component(component::ZMM_HI256, 512, vectors)?,
            hi16_zmm: self.component(component::HI16_ZMM, 1024, vectors)?,
            pkru: self.component(component::PKRU, 4, |data| word32(data, 0))?,
            cet: self.component(component::CET_USER, 16, |data| {
                let [u_cet, ssp] = words(data);
                CetState { u_cet, ssp }
            })?,
        })
    }

    fn in_use(&self, component: u32) -> bool {
        self.header.xstate_bv & bit(component) != 0
    }

    /// A component's content, or its initial configuration, which is zero for
    /// all of them; `None` when the guest has not enabled it.
    fn component<T>(
        &self,
        component: u32,
        needed: usize,
        read: impl Fn(&[u8]) -> T,
    ) -> Result<Option<T>, XsaveError> {
        if !self.in_use(component) {
            return Ok(self.layout.is_enabled(component).then(|| read(&[])));
        }
        let ComponentLayout { offset, size, .. } = self.layout.get(component);
        if (size as usize) < needed {
            return Err(XsaveError::Layout { component, needed, size });
        }
        let start = if self.header.is_compacted() {
            self.layout.compacted_offset(component, self.header.xcomp_bv)
        } else {
            offset as usize
        };
        let data = slice(self.area, "a component", start, start.saturating_add(needed))?;
        Ok(Some(read(data)))
    }
}

/// Bytes `start` to `end` of an area.
fn slice<'a>(
    area: &'a [u8],
    what: &'static str,
    start: usize,
    end: usize,
) -> Result<&'a [u8], XsaveError> {
    area.get(start..end).ok_or(XsaveError::Short { what, start, end, len: area.len() })
}

/// The legacy region, with initial values for what is not in use
/// (SDM volume 1, section 13.6: x87 control word 0x37f, the rest zero).
fn legacy_region(region: &[u8], in_use: u64, mxcsr_in_use: bool) -> LegacyState {
    let mut legacy = LegacyState::default();
    if in_use & bit(component::X87) != 0 {
        let control = word32(region, 0);
        let tags = word32(region, 4);
        legacy.cwd = control as u16;
        legacy.swd = (control >> 16) as u16;
        legacy.twd = tags as u16;
        legacy.fop = (tags >> 16) as u16;
        [legacy.rip, legacy.rdp] = words(&region[8..24]);
        legacy.st = vectors(&region[32..160]);
    }
    if in_use & bit(component::SSE) != 0 {
        legacy.xmm = vectors(&region[160..416]);
    }
    if mxcsr_in_use {
        legacy.mxcsr = word32(region, 24);
        // Zero stands for the mask of the first processors with SSE
        // (SDM volume 1, section 11.6.6).
        legacy.mxcsr_mask = match word32(region, 28) {
            0 => 0xffbf,
            mask => mask,
        };
    }
    legacy
}

/// Registers of `N` quadwords each; what `data` is too short for is zero.
fn vectors<const N: usize, const REGISTERS: usize>(data: &[u8]) -> [[u64; N]; REGISTERS] {
    std::array::from_fn(|register| words(data.get(register * N * 8..).unwrap_or_default()))
}

/// `N` quadwords; what `data` is too short for is zero.
fn words<const N: usize>(data: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(data.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The 32-bit word at `offset`, or zero behind the end.
fn word32(data: &[u8], offset: usize) -> u32 {
    data.get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Intel's layout, with protection keys and user shadow stacks.
    fn intel() -> XsaveLayout {
        let mut layout = XsaveLayout::new(KNOWN);
        for (component, offset, size, aligned) in [
            (component::AVX, 576, 256, false),
            (component::BNDREGS, 960, 64, false),
            (component::BNDCSR, 1024, 64, false),
            (component::OPMASK, 1088, 64, false),
            (component::ZMM_HI256, 1152, 512, false),
            (component::HI16_ZMM, 1664, 1024, false),
            (component::PKRU, 2688, 8, false),
            (component::CET_USER, 0, 16, true),
        ] {
            layout.set(component, ComponentLayout { offset, size, aligned });
        }
        layout
    }

    fn area(xstate_bv: u64, xcomp_bv: u64) -> Vec<u8> {
        let mut area = vec![0; 4096];
        area[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
        area[520..528].copy_from_slice(&xcomp_bv.to_le_bytes());
        area
    }

    #[test]
    fn an_aligned_component_starts_at_a_multiple_of_64() {
        let in_use = bit(component::PKRU) | bit(component::CET_USER);
        let mut area = area(in_use, XCOMP_COMPACTED | in_use);
        area[576] = 0x54;
        area[640] = 3;
        area[648..656].copy_from_slice(&0x7f00_0000_1000_u64.to_le_bytes());
        let xsave = parse(&area, &intel()).unwrap().xsave.unwrap();
        assert_eq!(xsave.pkru, Some(0x54));
        assert_eq!(xsave.cet, Some(CetState { u_cet: 3, ssp: 0x7f00_0000_1000 }));
    }

    #[test]
    fn bounds_registers_are_read_from_standard_form() {
        let mut area = area(bit(component::BNDREGS) | bit(component::BNDCSR), 0);
        area[960 + 16] = 1;
        area[960 + 24] = 2;
        area[1024] = 3;
        area[1032] = 4;
        let xsave = parse(&area, &intel()).unwrap().xsave.unwrap();
        assert_eq!(xsave.bndregs.unwrap()[1], [1, 2]);
        assert_eq!(xsave.bndcsr, Some([3, 4]));
    }

    #[test]
    fn what_has_no_image_form_is_refused_only_in_use() {
        const AMX_TILES: u32 = 18;
        let in_use = area(bit(AMX_TILES), 0);
        assert_eq!(parse(&in_use, &intel()), Err(XsaveError::Unsupported(AMX_TILES)));
        let enabled = area(0, XCOMP_COMPACTED | bit(AMX_TILES));
        assert!(parse(&enabled, &intel()).is_ok());
    }

    #[test]
    fn a_header_that_contradicts_itself_is_refused() {
        for (xstate_bv, xcomp_bv) in
            [(bit(2), XCOMP_COMPACTED), (0, bit(2)), (bit(63), XCOMP_COMPACTED | bit(63))]
        {
            let error = parse(&area(xstate_bv, xcomp_bv), &intel()).unwrap_err();
            assert!(matches!(error, XsaveError::Header { .. } | XsaveError::Unsupported(63)));
        }
    }

    #[test]
    fn without_xsave_there_is_the_legacy_region_alone() {
        let mut area = vec![0; 512];
        area[0..2].copy_from_slice(&0x27f_u16.to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        let state = parse_fxsave(&area).unwrap();
        assert_eq!((state.legacy.cwd, state.legacy.mxcsr_mask), (0x27f, 0xffbf));
        assert_eq!(state.xsave, None);
        assert!(parse_fxsave(&area[1..]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_state_or_an_error(
            mut area in proptest::collection::vec(any::<u8>(), 0..4096),
            xstate_bv in any::<u64>(),
            xcomp_bv in any::<u64>(),
            enabled in any::<u64>(),
            layouts in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 63),
        ) {
            if area.len() >= HEADER_END {
                area[512..520].copy_from_slice(&(xstate_bv & KNOWN).to_le_bytes());
                area[520..528].copy_from_slice(&(xcomp_bv | KNOWN | XCOMP_COMPACTED).to_le_bytes());
            }
            let mut layout = XsaveLayout::new(enabled);
            for (component, (offset, size, aligned)) in (0..).zip(layouts) {
                layout.set(component, ComponentLayout { offset, size, aligned });
            }
            let _ = parse(&area, &layout);
        }
    }
}
