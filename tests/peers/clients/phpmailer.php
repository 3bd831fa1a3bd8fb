<?php
// PHPMailer, as WordPress and its like use it: MODE PORT CA LOGIN PASSWORD SUBJECT BODY [TYPE]
require '/usr/share/php/libphp-phpmailer/autoload.php';

[, $mode, $port, $ca, $login, $password, $subject, $body] = $argv;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = (int) $port;
$mail->SMTPAuth = true;
$mail->Username = $login;
$mail->Password = $password;
$mail->AuthType = $argv[8] ?? '';
$mail->SMTPSecure = ['none' => '', 'starttls' => 'tls', 'implicit' => 'ssl'][$mode];
// With it PHPMailer takes STARTTLS wherever it is offered.
$mail->SMTPAutoTLS = $mode !== 'none';
$mail->SMTPOptions = ['ssl' => ['cafile' => $ca, 'verify_peer' => true, 'verify_peer_name' => true]];
$mail->setFrom($login);
$mail->addAddress('php@peers.test');
$mail->Subject = $subject;
$mail->Body = $body;
$mail->send();
