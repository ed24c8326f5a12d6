import Glibc
import Logging

/// A log record in the journal's own form: fields, each a name and bytes.
///
/// A field is `NAME=value` and a newline; a value that has newlines itself comes as the name, a
/// newline, its length as a little-endian u64, the bytes and a newline ("Native Journal Protocol" of
/// systemd's documentation).
struct JournalRecord {
    /// What is sent.
    let bytes: [UInt8]

    /// Encodes MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, and each item of the metadata as
    /// `GPUVMD_` and its name.
    init(_ record: LogRecord) {
        var bytes: [UInt8] = []
        Self.append("MESSAGE", record.text, to: &bytes)
        Self.append("PRIORITY", "\(Self.priority(record.level))", to: &bytes)
        Self.append("SYSLOG_IDENTIFIER", record.label, to: &bytes)
        for (key, value) in record.metadata.sorted(by: { $0.key < $1.key }) {
            guard let name = Self.fieldName(key) else { continue }
            Self.append(name, value.description, to: &bytes)
        }
        self.bytes = bytes
    }

    /// The priorities of syslog(3).
    static func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }

    /// The field of a metadata key; nil for one that the journal would refuse: a name is of upper-case
    /// letters, digits and underscores and has 64 bytes at most.
    static func fieldName(_ key: String) -> String? {
        let name = "GPUVMD_" + key.uppercased()
        let isValid = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return isValid && !key.isEmpty && name.utf8.count <= 64 ? name : nil
    }

    private static func append(_ name: String, _ value: String, to bytes: inout [UInt8]) {
        bytes += name.utf8
        let newline = UInt8(ascii: "\n")
        if value.utf8.contains(newline) {
            bytes.append(newline)
            withUnsafeBytes(of: UInt64(value.utf8.count).littleEndian) { bytes += $0 }
        } else {
            bytes.append(UInt8(ascii: "="))
        }
        bytes += value.utf8
        bytes.append(newline)
    }
}
