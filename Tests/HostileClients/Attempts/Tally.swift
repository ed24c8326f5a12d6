import GPUVMClient
import WireProtocol

/// Attempts of one kind and what was answered to them.
final class Tally {
    private(set) var attempts = 0
    private var answers: [String: Int] = [:]

    /// Counts an answer.
    func note(_ answer: String) {
        attempts += 1
        answers[answer, default: 0] += 1
    }

    func note(errno code: Int32) { note(Text.name(ofErrno: code)) }

    /// Tries something; its errno is the answer.
    func attempt(_ body: () throws -> Void) {
        do {
            try body()
            note("ok")
        } catch let error as ClientError {
            note(error.code.symbol)
        } catch let error as WireError {
            note(error.code.symbol)
        } catch is RawConnection.Ended {
            note("closed")
        } catch {
            note("\(error)")
        }
    }

    func count(_ answer: String) -> Int { answers[answer] ?? 0 }

    /// The most frequent answers first.
    var text: String {
        answers.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
}
