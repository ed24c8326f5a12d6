/// Columns of text, each as wide as its widest cell.
struct TextTable {
    /// Which side of a column its cells stand at.
    enum Alignment {
        case left
        case right
    }

    private let columns: [(title: String, alignment: Alignment)]
    private var rows: [[String]] = []

    init(_ columns: [(String, Alignment)]) {
        self.columns = columns.map { (title: $0.0, alignment: $0.1) }
    }

    mutating func add(_ cells: [String]) {
        rows.append(cells)
    }

    /// The lines, the titles first, indented by `indent` spaces.
    func lines(indent: Int = 0) -> [String] {
        let all = [columns.map(\.title)] + rows
        let widths = columns.indices.map { column in
            all.map { $0[column].count }.max() ?? 0
        }
        return all.map { cells in
            var line = String(repeating: " ", count: indent)
            for (column, cell) in cells.enumerated() {
                if column > 0 { line += "  " }
                switch columns[column].alignment {
                case .left: line += cell.padded(widths[column])
                case .right: line += cell.aligned(widths[column])
                }
            }
            while line.last == " " { line.removeLast() }
            return line
        }
    }
}
