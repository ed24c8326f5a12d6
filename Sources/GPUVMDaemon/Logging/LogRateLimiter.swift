/// Counts the log lines of each client in windows of a second.
struct LogRateLimiter {
    /// How many lines of a client were left out in a window that is over.
    struct Summary: Equatable {
        let client: String
        let suppressed: Int
    }

    private struct Window {
        let end: UInt64
        var lines = 0
        var suppressed = 0
    }

    private static let windowNanoseconds: UInt64 = 1_000_000_000

    /// What a client may cause in a window.
    var linesPerSecond: Int

    private var windows: [String: Window] = [:]
    private var nextSweep: UInt64 = 0

    init(linesPerSecond: Int) { self.linesPerSecond = linesPerSecond }

    /// Counts a line of `client` at `now` (ns); false if it is one too many.
    mutating func admits(_ client: String, now: UInt64) -> Bool {
        var window = windows[client] ?? Window(end: now &+ Self.windowNanoseconds)
        defer { windows[client] = window }
        window.lines += 1
        if window.lines <= linesPerSecond { return true }
        window.suppressed += 1
        return false
    }

    /// Closes the windows that are over at `now` (ns), whose clients start anew.
    ///
    /// O(1) but for once a second, when it is O(clients that logged in the last second).
    mutating func summaries(now: UInt64) -> [Summary] {
        guard now >= nextSweep else { return [] }
        var summaries: [Summary] = []
        var earliest = UInt64.max
        for (client, window) in windows {
            if window.end > now {
                earliest = min(earliest, window.end)
                continue
            }
            windows[client] = nil
            guard window.suppressed > 0 else { continue }
            summaries.append(Summary(client: client, suppressed: window.suppressed))
        }
        // A window that opens from now on ends a whole second later at the earliest.
        nextSweep = min(earliest, now == .max ? 0 : now &+ Self.windowNanoseconds)
        return summaries.sorted { $0.client < $1.client }
    }
}
