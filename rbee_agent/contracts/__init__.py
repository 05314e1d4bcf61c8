"""What crosses a wire or a disk, by noun. No I/O, no decisions."""
