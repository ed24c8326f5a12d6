import Glibc

/// Address space that costs memory only where it is touched, so that what lives in it never moves.
///
/// Threading: as the owner; the region itself is immutable.
struct ReservedRegion: ~Copyable {
    let base: UnsafeMutableRawPointer
    private let byteCount: Int

    /// Reserves zeroed pages; nil when the process's address space is exhausted.
    init?(byteCount: Int) {
        guard
            let base = mmap(
                nil, byteCount, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), base != MAP_FAILED
        else { return nil }
        self.base = base
        self.byteCount = byteCount
    }

    /// Asks for huge pages behind the first 2 MiB of an array: a large VM's look-ups miss the TLB
    /// less, a small one keeps to 4 KiB pages.
    func adviseHugePages(from start: Int, to end: Int) {
        let huge = 2 << 20
        let address = Int(bitPattern: base)
        let first = (address + start + 2 * huge - 1) & ~(huge - 1)
        let last = (address + end) & ~(huge - 1)
        guard first < last, let from = UnsafeMutableRawPointer(bitPattern: first) else { return }
        // Advice: where the system has no huge pages, nothing changes but the speed.
        _ = madvise(from, last - first, MADV_HUGEPAGE)
    }

    deinit { munmap(base, byteCount) }
}
