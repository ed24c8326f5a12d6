import CWireProtocol

/// The fixed names of the protocol: GPUVM_NAME_BYTES of UTF-8, padded with NULs.
public enum WireName {
    /// The C form of a name.
    public typealias Bytes = (
        CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar,
        CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar,
        CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar,
        CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar
    )

    /// The C form of `name`, cut at a character's end if it is too long; a NUL ends it.
    public static func encode(_ name: String) -> Bytes {
        var bytes: Bytes = (
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        )
        withUnsafeMutableBytes(of: &bytes) { target in
            let visible = name.utf8.prefix(name.utf8Prefix(target.count)).prefix { $0 != 0 }
            target.copyBytes(from: visible)
        }
        return bytes
    }

    /// The name in its C form.
    ///
    /// - Throws: EINVAL when it is not UTF-8, has control characters, or anything after its end.
    public static func decode(_ bytes: Bytes) throws(WireError) -> String {
        let name: String? = withUnsafeBytes(of: bytes) { raw in
            let length = raw.firstIndex(of: 0) ?? raw.count
            guard raw[length...].allSatisfy({ $0 == 0 }),
                raw[..<length].allSatisfy({ $0 >= 0x20 && $0 != 0x7f })
            else { return nil }
            return String(validating: raw[..<length], as: UTF8.self)
        }
        guard let name else {
            throw .invalid(
                "a name must be UTF-8 without control characters, padded with NULs")
        }
        return name
    }

    /// The name in its C form, with what is no UTF-8 replaced: for showing only.
    public static func display(_ bytes: Bytes) -> String {
        withUnsafeBytes(of: bytes) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
