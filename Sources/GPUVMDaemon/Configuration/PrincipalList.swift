import Glibc

/// Users or groups as an operator writes them: names or numbers, separated by commas.
enum PrincipalList {
    /// What the entries are.
    enum Kind: Sendable {
        case user
        case group
    }

    /// The numbers of a list's entries; nil if one is unknown to the system, or no name at all.
    ///
    /// Asks the system's name service, which may take its time.
    static func numbers(_ list: String, _ kind: Kind) -> Set<UInt32>? {
        guard !list.allSatisfy({ $0 == " " }) else { return [] }
        var numbers: Set<UInt32> = []
        for entry in list.split(separator: ",", omittingEmptySubsequences: false) {
            let name = entry.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
            guard let number = number(String(name), kind) else { return nil }
            numbers.insert(number)
        }
        return numbers
    }

    private static func number(_ name: String, _ kind: Kind) -> UInt32? {
        // The last number stands for "none" in system calls.
        if let number = UInt32(name) { return number == .max ? nil : number }
        guard !name.isEmpty, name.utf8.count <= 256 else { return nil }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64 << 10) { buffer in
            // An allocation of more than nothing has an address.
            guard let memory = buffer.baseAddress else { return nil }
            switch kind {
            case .user:
                var record = passwd()
                var found: UnsafeMutablePointer<passwd>?
                let error = getpwnam_r(
                    name, &record, memory, buffer.count, &found)
                return error == 0 && found != nil ? record.pw_uid : nil
            case .group:
                var record = group()
                var found: UnsafeMutablePointer<group>?
                let error = getgrnam_r(
                    name, &record, memory, buffer.count, &found)
                return error == 0 && found != nil ? record.gr_gid : nil
            }
        }
    }
}

extension ConfigurationKey {
    /// A key that takes a list of users or groups.
    static func principals(
        _ path: String, _ field: Field<String>, _ kind: PrincipalList.Kind, _ summary: String
    ) -> ConfigurationKey {
        let plural = kind == .user ? "users" : "groups"
        return text(
            path, field, allowed: "names or numbers of \(plural), separated by commas", summary
        ) { PrincipalList.numbers($0, kind) != nil }
    }
}
