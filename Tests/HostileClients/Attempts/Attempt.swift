/// One kind of attack, in the table.
struct Attempt: Sendable {
    /// What is tried.
    let name: String
    /// Tries it on a daemon; what it was answered. Throws if an answer is wrong.
    let run: @Sendable (DaemonUnderTest, Tally) throws -> Void
}
