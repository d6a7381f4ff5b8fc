use super::*;

#[test]
fn sizes_are_powers_of_two() {
    for bits in 6..=16 {
        assert!(ReplayWindow::new(1 << bits, false).is_ok());
    }
    for size in [0, 1, 32, 63, 65, 96, 65_535, 65_537, 131_072, u32::MAX] {
        assert_eq!(ReplayWindow::new(size, true).err(), Some(ReplayWindowError(size)));
    }
}
