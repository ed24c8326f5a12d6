import SystemPackage
import WireProtocol

/// Forms of numbers in the output.
enum Text {
    /// Right-justified.
    static func pad(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    /// Left-justified.
    static func fill(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// With one decimal.
    static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(abs(tenths) % 10)"
    }

    /// Microseconds of nanoseconds.
    static func microseconds(_ nanoseconds: UInt64) -> String {
        tenths(Double(nanoseconds) / 1000) + " us"
    }

    /// The name of an errno; "ok" of 0.
    static func name(ofErrno code: Int32) -> String {
        code == 0 ? "ok" : Errno(rawValue: code).symbol
    }
}
