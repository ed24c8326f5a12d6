/// Words of the macro processor, 0 at first, whose indices come from clients.
///
/// Threading: owned by one ``MacroProcessor``.
struct MacroMemory: ~Copyable {
    private let count: Int
    private let words: UnsafeMutablePointer<UInt32>

    init(count: Int) {
        self.count = count
        words = .allocate(capacity: count)
        words.initialize(repeating: 0, count: count)
    }

    deinit { words.deallocate() }

    /// A word; nil outside of the memory.
    subscript(index: Int) -> UInt32? {
        index >= 0 && index < count ? words[index] : nil
    }

    /// Writes a word; returns whether there is one.
    func set(_ index: Int, _ value: UInt32) -> Bool {
        guard index >= 0 && index < count else { return false }
        words[index] = value
        return true
    }
}
