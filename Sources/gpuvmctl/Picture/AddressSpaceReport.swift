import CWireProtocol

/// A picture of a VA space in text.
enum AddressSpaceReport {
    /// Digits of the addresses: all of a 48-bit space.
    private static let digits = 12
    /// What stands in front of a row, and behind it.
    private static let frame = digits + 6

    /// A VM as it is.
    static func report(
        _ vm: gpuvm_vm_record, _ mappings: [gpuvm_va_record], sparse: [gpuvm_va_range],
        width: Int, style: TerminalStyle
    ) -> Report {
        let picture = picture(vm, mappings, sparse: sparse, width: width)
        return Report(lines: lines(picture, style: style), json: json(picture))
    }

    /// A picture for a terminal of `width` columns.
    static func picture(
        _ vm: gpuvm_vm_record, _ mappings: [gpuvm_va_record], sparse: [gpuvm_va_range],
        width: Int
    ) -> AddressSpacePicture {
        AddressSpacePicture(vm, mappings, sparse: sparse, columns: max(8, width - frame))
    }

    static func lines(_ picture: AddressSpacePicture, style: TerminalStyle) -> [String] {
        let vm = picture.vm
        var lines = [
            style.bold(
                """
                VM \(vm.id) “\(Names.text(vm.name))” of \(Names.text(vm.client)), client \
                \(vm.client_id): \(picture.mappings) mappings
                """)
        ]
        let totals = AddressSpaceKind.allCases.compactMap { kind in
            picture.bytes[kind].map {
                style.color(String(kind.full), kind.color) + " \(kind.meaning) \(size($0))"
            }
        }
        if !totals.isEmpty { lines.append("  " + totals.joined(separator: ", ")) }
        if !picture.sparse.isEmpty {
            let bytes = picture.sparse.reduce(0) { $0 &+ $1.range }
            let count = picture.sparse.count
            lines.append(
                """
                  \(AddressSpaceKind.region) below: sparse, \(count) \
                \(count == 1 ? "region" : "regions") of \(size(bytes))
                """)
        }
        lines.append(
            "  \(AddressSpaceKind.hole) hole; small letter or -: not all of the character's range")
        for part in picture.parts { lines += text(part, style) }
        return lines
    }

    private static func text(
        _ part: AddressSpacePicture.Part, _ style: TerminalStyle
    ) -> [String] {
        switch part {
        case .hole(let start, let end):
            return ["  \(address(start))  hole of \(approximate(end - start))"]
        case .reserved(let start, let end):
            return ["  \(address(start))  the driver's own part, \(size(end - start))"]
        case .section(let section):
            let head = """
                  \(address(section.start))  \(approximate(section.end - section.start)), one \
                character is \(size(section.cellBytes))
                """
            var at = section.origin
            var lines = [head]
            for (row, region) in zip(section.rows, section.regions) {
                lines.append("  \(address(at)) |\(paint(row, style))|")
                at += section.cellBytes * UInt64(row.count)
                guard region.contains(AddressSpaceKind.region) else { continue }
                let below = String(repeating: " ", count: digits + 4) + region
                lines.append(
                    style.color(below.trimmingTrailingSpaces, AddressSpaceKind.sparse.color))
            }
            return lines
        }
    }

    /// Colours run by run.
    private static func paint(_ row: String, _ style: TerminalStyle) -> String {
        var text = ""
        var run = ""
        var color: Int?
        func flush() {
            text += color.map { style.color(run, $0) } ?? run
            run = ""
        }
        for character in row {
            let next = AddressSpaceKind.allCases.first {
                $0.full == character || $0.partial == character
            }?.color
            if next != color { flush() }
            color = next
            run.append(character)
        }
        flush()
        return text
    }

    private static func address(_ value: UInt64) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    /// A size in one unit, marked when it was rounded.
    private static func approximate(_ bytes: UInt64) -> String {
        let exact = size(bytes)
        return exact.utf8.count <= 8 ? exact : "about \(roughSize(bytes))"
    }

    // MARK: JSON

    static func json(_ picture: AddressSpacePicture) -> [(String, JSON)] {
        [
            ("vm", VMReport.json(picture.vm)),
            ("mappings", .number(UInt64(picture.mappings))),
            ("sparse", .array(picture.sparse.map { VMReport.json($0) })),
            (
                "bytes",
                .object(
                    AddressSpaceKind.allCases.map {
                        ("\($0)", .number(picture.bytes[$0] ?? 0))
                    })
            ),
            ("parts", .array(picture.parts.map { json($0) })),
        ]
    }

    private static func json(_ part: AddressSpacePicture.Part) -> JSON {
        let (start, end) = part.bounds
        var members: [(String, JSON)] = []
        switch part {
        case .hole: members = [("kind", .string("hole"))]
        case .reserved: members = [("kind", .string("reserved"))]
        case .section: members = [("kind", .string("section"))]
        }
        members += [("start", .address(start)), ("end", .address(end))]
        if case .section(let section) = part {
            members += [
                ("cell_bytes", .number(section.cellBytes)),
                ("origin", .address(section.origin)),
                ("rows", .array(section.rows.map { .string($0) })),
                ("sparse_rows", .array(section.regions.map { .string($0) })),
            ]
        }
        return .object(members)
    }
}

extension String {
    /// The string without spaces at its end.
    fileprivate var trimmingTrailingSpaces: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
