import com.pixelmed.validate.DicomSRValidator;

/** Judges several reports in one virtual machine: the validator's rules take ten seconds to compile. */
public class PixelMedReports {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("=== " + file);
            System.out.println(validator.validate(file));
        }
    }
}
