//! XSAVE areas written by real processors, read back register by register.

use ovmigrate::capture::xsave::{ComponentLayout, XsaveLayout, parse};
use ovmigrate::snapshot::{ExtendedState, LegacyState, component};

#[path = "fixtures/xsave/processor.rs"]
mod processor;

use processor::{Form, Load, Pattern};

/// Bytes of a recorded fixture.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/xsave/", $name)).as_slice()
    };
}

fn layout(enabled: u64, components: &[(u32, ComponentLayout)]) -> XsaveLayout {
    let mut layout = XsaveLayout::new(enabled);
    for (number, component) in components {
        layout.set(*number, *component);
    }
    layout
}

fn recorded(area: &[u8]) -> ExtendedState {
    let components: Vec<(u32, ComponentLayout)> = include_str!("fixtures/xsave/layout.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| fields[index].parse::<u32>().expect("a number");
            let aligned = fields[3] == "true";
            (number(0), ComponentLayout { offset: number(1), size: number(2), aligned })
        })
        .collect();
    let enabled = components.iter().fold(3, |mask, (number, _)| mask | 1 << number);
    parse(area, &layout(enabled, &components)).expect("a valid area")
}

fn on_the_spot(load: Load, form: Form) -> ExtendedState {
    let enabled = processor::enabled().expect("a processor with XSAVE");
    let area = processor::save(&Pattern::new(), load, form, enabled);
    parse(&area.0, &layout(enabled, &processor::components(enabled))).expect("a valid area")
}

fn assert_legacy_loaded(legacy: &LegacyState) {
    let pattern = Pattern::new();
    assert_eq!(legacy.cwd, pattern.cwd);
    assert_eq!(legacy.mxcsr, pattern.mxcsr);
    assert_eq!(legacy.mxcsr & !legacy.mxcsr_mask, 0);
    assert_eq!(legacy.twd, 0xff, "all x87 registers hold values");
    assert_eq!(legacy.st, pattern.st);
    for (xmm, value) in legacy.xmm.iter().zip(&pattern.zmm) {
        assert_eq!(xmm[..], value[..2]);
    }
}

fn assert_avx_loaded(state: &ExtendedState) {
    let avx = state.xsave.as_ref().and_then(|xsave| xsave.avx).expect("AVX");
    for (high, value) in avx.iter().zip(&Pattern::new().zmm) {
        assert_eq!(high[..], value[2..4]);
    }
}

fn assert_everything(state: &ExtendedState) {
    assert_legacy_loaded(&state.legacy);
    assert_avx_loaded(state);
    let pattern = Pattern::new();
    let xsave = state.xsave.as_ref().expect("XSAVE");
    assert_eq!(xsave.opmask, Some(pattern.opmask));
    for (high, value) in xsave.zmm_hi256.expect("ZMM_Hi256").iter().zip(&pattern.zmm) {
        assert_eq!(high[..], value[4..]);
    }
    assert_eq!(xsave.hi16_zmm.expect("Hi16_ZMM")[..], pattern.zmm[16..]);
}

fn assert_opmask_only(state: &ExtendedState) {
    let initial = LegacyState { mxcsr_mask: state.legacy.mxcsr_mask, ..LegacyState::default() };
    assert_eq!(state.legacy, initial);
    let xsave = state.xsave.as_ref().expect("XSAVE");
    assert_eq!(xsave.xstate_bv & 0xfc, 1 << component::OPMASK);
    assert_eq!(xsave.opmask, Some(Pattern::new().opmask));
    assert_eq!(xsave.avx, Some([[0; 2]; 16]));
    assert_eq!(xsave.zmm_hi256, Some([[0; 4]; 16]));
    assert_eq!(xsave.hi16_zmm, Some([[0; 8]; 16]));
}

fn assert_up_to_avx(state: &ExtendedState) {
    assert_legacy_loaded(&state.legacy);
    assert_avx_loaded(state);
    let xsave = state.xsave.as_ref().expect("XSAVE");
    assert_eq!(xsave.xstate_bv & 0xff, 0b111);
    assert!(matches!(xsave.zmm_hi256, None | Some([[0, 0, 0, 0], ..])));
}

#[test]
fn recorded_areas_hold_what_was_loaded() {
    assert_everything(&recorded(fixture!("everything.xsave")));
    assert_everything(&recorded(fixture!("everything.xsavec")));
}

#[test]
fn recorded_garbage_in_unused_components_is_not_read() {
    assert_opmask_only(&recorded(fixture!("opmask.xsave")));
    assert_opmask_only(&recorded(fixture!("opmask.xsavec")));
    assert_up_to_avx(&recorded(fixture!("avx.xsavec")));
}

#[test]
fn recorded_forms_differ_only_in_their_form() {
    let standard = fixture!("everything.xsave");
    let compacted = fixture!("everything.xsavec");
    assert_ne!(standard, compacted);
    assert_eq!(recorded(standard), recorded(compacted));
}

/// Compacted areas have no gap where a component was not asked for.
#[test]
fn recorded_components_move_up() {
    let state = recorded(fixture!("without-avx.xsavec"));
    let everything = recorded(fixture!("everything.xsavec"));
    assert_legacy_loaded(&state.legacy);
    let (state, everything) = (state.xsave.expect("XSAVE"), everything.xsave.expect("XSAVE"));
    assert_eq!(state.avx, Some([[0; 2]; 16]));
    assert_eq!(state.opmask, everything.opmask);
    assert_eq!(state.zmm_hi256, everything.zmm_hi256);
    assert_eq!(state.hi16_zmm, everything.hi16_zmm);
}

/// As far as the processor at hand goes; the recorded areas cover the rest.
#[test]
fn this_processor_agrees() {
    let enabled = processor::enabled().expect("a processor with XSAVE");
    let mut forms = vec![Form::Standard];
    if processor::has_xsavec() {
        forms.push(Form::Compacted);
    }
    for form in forms {
        if processor::has_avx512(enabled) {
            assert_everything(&on_the_spot(Load::Everything, form));
            assert_opmask_only(&on_the_spot(Load::OpmaskOnly, form));
        }
        if enabled >> component::AVX & 1 == 1 {
            assert_up_to_avx(&on_the_spot(Load::UpToAvx, form));
        }
    }
}
