"""Random sentences, of words that are easily told apart. 2^24 of them: none is known before it is shown."""

import secrets

PARTS = {
    "en": (
        "Yesterday|This morning|Last winter|On Saturday|After breakfast|In September|Before sunrise"
        "|Every evening",
        "my grandmother|the captain|our neighbor|a young doctor|the gardener|my sister|the teacher"
        "|an old soldier",
        "carried|discovered|remembered|painted|borrowed|collected|repaired|described",
        "seven|eleven|fourteen|twenty|thirteen|several hundred|sixty|nineteen",
        "yellow|wooden|beautiful|broken|expensive|ancient|enormous|colorful",
        "umbrellas|mountains|windows|bicycles|blankets|elephants|telephones|pictures",
        "beside the river|under the bridge|behind the station|across the valley|near the hospital"
        "|outside the library|around the garden|inside the castle",
        "because the weather was changing|without asking for permission|while the children were sleeping"
        "|and nobody noticed anything|although the market was closed|until the music finally stopped"
        "|before the others came home|as everybody had expected",
    )
}


def random_sentence(locale: str) -> str:
    return " ".join(secrets.choice(part.split("|")) for part in PARTS[locale]) + "."
