/// A pairing heap of ``TimerEvent``s, linked through the events: no operation allocates.
///
/// The heap holds one reference on each event in it. Complexity: insertion O(1), removal O(log n)
/// amortised; nothing recurses.
///
/// Threading: guarded by the queue's lock.
struct TimerHeap: ~Copyable {
    private unowned(unsafe) var root: TimerEvent?

    /// The event with the earliest deadline.
    var first: TimerEvent? { root }

    mutating func insert(_ event: TimerEvent) {
        // Balanced by the release in `remove`; the links themselves do not own.
        _ = Unmanaged.passRetained(event)
        event.isScheduled = true
        root = Self.meld(root, event)
    }

    mutating func remove(_ event: TimerEvent) {
        let children = Self.combine(event.child)
        event.child = nil
        if event === root {
            root = children
        } else if let back = event.back {
            if back.child === event {
                back.child = event.sibling
            } else {
                back.sibling = event.sibling
            }
            event.sibling?.back = back
            root = Self.meld(root, children)
        }
        event.sibling = nil
        event.back = nil
        event.isScheduled = false
        // The caller holds a reference of its own.
        Unmanaged.passUnretained(event).release()
    }

    private static func meld(_ a: TimerEvent?, _ b: TimerEvent?) -> TimerEvent? {
        guard let a else { return b }
        guard let b else { return a }
        let (upper, lower) = b.isBefore(a) ? (b, a) : (a, b)
        lower.sibling = upper.child
        upper.child?.back = lower
        upper.child = lower
        lower.back = upper
        return upper
    }

    /// Melds a list of siblings: in pairs from the left, then all from the right.
    private static func combine(_ firstSibling: TimerEvent?) -> TimerEvent? {
        var pairs: TimerEvent?
        var next = firstSibling
        while let a = next {
            let b = a.sibling
            next = b?.sibling
            a.sibling = nil
            a.back = nil
            b?.sibling = nil
            b?.back = nil
            let pair = meld(a, b)
            pair?.sibling = pairs
            pairs = pair
        }
        var result: TimerEvent?
        while let pair = pairs {
            pairs = pair.sibling
            pair.sibling = nil
            result = meld(result, pair)
        }
        return result
    }
}
