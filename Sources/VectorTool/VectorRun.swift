import Glibc

/// Answers commands one by one, in the format of vector files.
public enum VectorRun {
    /// Reads commands from standard input and prints `{"i":command,"o":result}` for each, flushed;
    /// empty lines are skipped.
    public static func run() {
        let interpreter = VectorInterpreter()
        while let command = readLine() {
            guard let line = answer(command, interpreter) else { continue }
            print(line)
            fflush(nil)
        }
    }

    /// The line for one command; nil for an empty one.
    public static func answer(_ command: String, _ interpreter: VectorInterpreter) -> String? {
        guard command.contains(where: { !$0.isWhitespace }) else { return nil }
        return "{\"i\":\(quoted(command)),\"o\":\(interpreter.run(command: command))}"
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.value < 32:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
